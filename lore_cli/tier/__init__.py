"""From the model to the traffic: who answers which query, the head cache and its refresh, and what the deployment is worth.

`plan` cuts a query log into tiers, `cache` writes generations, `refresh` keeps them fresh, `replay` measures a policy on a log,
`status` shows what is served. Reading a cache, reading a plan and routing by it live one floor down, in judges/{cached,plan,tiered}.py:
the deployed system is itself a judge, so whatever takes a judge can take it.
"""
