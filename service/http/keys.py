"""Where ``python -m service.auth.keys`` was before 0.1.0; goes with the next release."""

from service.auth.keys import main

if __name__ == "__main__":
    main()
