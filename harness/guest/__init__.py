"""The system inside the machine: boot states, SSH, the shell on the console."""
