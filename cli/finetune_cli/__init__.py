"""The `finetune` command line, also installed as `kubectl finetune`."""
