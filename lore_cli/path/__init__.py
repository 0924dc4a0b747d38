"""The deterministic expert: path construction (`needs`), evidence, path following (`follow`), and the lexical baseline."""
