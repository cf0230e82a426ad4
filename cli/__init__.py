"""The verbs of the command `surefoot`, one thin file each."""
