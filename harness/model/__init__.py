"""Language models: loading, tokens, forward passes, generation, and the edits of representations."""
