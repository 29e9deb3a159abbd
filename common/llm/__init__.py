"""Language models: the configured endpoint, or the offline planner, behind one interface.

Importing this package loads no model library; `common.llm.provider` does.
"""
