"""The supply chain: what is installed beside our own code, from where, under which terms.

`python -m tests.supply` counts the packages, audits them, checks their licences and writes a
CycloneDX bill of materials; the tests keep the same promises without a network.
"""
