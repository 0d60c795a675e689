"""What a fit found, as files that other software serves: PEFT adapters."""
