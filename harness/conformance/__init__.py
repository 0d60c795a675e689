"""What plug-ins and data promise, checked: `harness.testing` offers it to whoever writes a plug-in."""
