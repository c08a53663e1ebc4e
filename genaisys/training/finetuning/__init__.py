"""Fine-tuning: from conversations, preferences, labels, texts and verdicts, with LoRA or of all weights."""
