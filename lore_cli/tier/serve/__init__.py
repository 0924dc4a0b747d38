"""The deployed system over HTTP: server.py (sockets, signals, patience with clients) runs app.py (requests and replies), which asks service.py
(which system answers, and how much it takes on), which asks the judge of a plan, `lore_cli.judges.tiered`.
"""
