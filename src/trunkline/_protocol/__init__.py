"""What goes over the wire, and its rules. No event loop, socket, clock or chance."""
