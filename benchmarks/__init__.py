"""Speed and memory, measured in fresh processes that take turns. README.md has the figures and the commands."""
