"""The paper's experiments as data: what is run, how it is laid out, and what the paper claims of it."""
