"""One QEMU process: its arguments, its life, QMP and the serial console."""
