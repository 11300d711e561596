"""The trainer against Hugging Face's Trainer, plain jiwer and `wandb agent`."""
