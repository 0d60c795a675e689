"""The paper's experiments: run from their specification files, laid out as in the paper, each claim judged."""
