"""Rules as data: read them, check them, decide with them. No I/O, no clock."""
