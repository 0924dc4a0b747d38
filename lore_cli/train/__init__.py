"""Training: supervised fine-tuning and reinforcement learning through TRL. Only here and in models/: torch, transformers, trl, peft."""
