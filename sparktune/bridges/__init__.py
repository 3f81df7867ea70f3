"""Bridges to other libraries; each is a module of its own, imported by name, that needs the library it leads to."""
