"""Fine-tunes speech-to-text models on error cases and judges the result against the model in service."""
