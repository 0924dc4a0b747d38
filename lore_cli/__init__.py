"""LORE: LLM relevance for any shop's search engine. See README.md and ARCHITECTURE.md."""

__version__ = "0.1.0"
