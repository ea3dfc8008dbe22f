"""Fine-tuning of promptable models on histology: data, simulated prompts, losses, scenarios, the loop, checkpoints."""
