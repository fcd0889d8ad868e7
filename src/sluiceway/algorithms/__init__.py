"""Pure machines that decide, told the time: no event loop, no clock, no chance but what is handed in."""
