"""`harness data fetch`: the official LaMP files, downloaded into the layout that `tasks/data.py` reads."""
