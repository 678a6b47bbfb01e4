"""Pure formats: bytes in, frozen records out, and back."""
