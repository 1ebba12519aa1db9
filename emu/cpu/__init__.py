"""The processor: the only package that knows Unicorn."""
