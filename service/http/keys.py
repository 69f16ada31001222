"""Where ``python -m service.auth.keys`` was before 0.1.0; goes with the next release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("service.auth.keys", run_name="__main__")
