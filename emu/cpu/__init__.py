"""The processor: the only package that knows Unicorn."""

from emu.cpu import preload as preload  # before any module of it imports Unicorn
