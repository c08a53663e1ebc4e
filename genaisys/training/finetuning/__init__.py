"""Fine-tuning: conversations, preferences and labels, with LoRA or of all weights."""
