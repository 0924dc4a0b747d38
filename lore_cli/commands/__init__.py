"""One file per command: options, one library call, output. The only room that knows click."""
