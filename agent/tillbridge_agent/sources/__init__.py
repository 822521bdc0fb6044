"""Where bytes come from: folders now, serial ports later. I/O only; what the bytes mean is decided elsewhere."""
