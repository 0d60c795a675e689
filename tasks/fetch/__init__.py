"""`harness data fetch`: the official LaMP files, downloaded into the layout that `tasks/lamp_layout.py` reads."""
