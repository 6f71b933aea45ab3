"""What probpose costs beside what it is compared with: one table, measured in one run (`python -m benchmarks.speed`).

Each module holds a group of rows; `benchmarks/speed/__main__.py` lists them. To add a row, write a function without
arguments that returns `Turns` and give it to a `Row`. It imports from probpose what it needs when it runs, so that it
also runs on an earlier checkout (`--parent`), whose API may have less: then its column says n/a.
"""
