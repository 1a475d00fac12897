"""Tables of the Linux kernel's names and numbers; nothing here does anything."""
