"""A comparison as people read it: sentences, tables, plots, Markdown, W&B."""
