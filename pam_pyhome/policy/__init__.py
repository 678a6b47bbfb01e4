"""What a login means."""
