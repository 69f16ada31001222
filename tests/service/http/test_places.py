import pytest

from service.errors import ServiceBusy
from service.http.places import Places


class TestPlaces:
    def test_are_bounded_over_all_clients(self) -> None:
        places = Places(2)
        with places.take("a"), places.take("b"):
            with pytest.raises(ServiceBusy, match="Too many requests"):
                places.check("c")
            with pytest.raises(ServiceBusy), places.take("a"):
                pass
        with places.take("c"), places.take("c"):
            pass

    def test_one_client_has_no_more_than_its_share(self) -> None:
        places = Places(4, 2)
        with places.take("a"), places.take("a"):
            with pytest.raises(ServiceBusy, match="one client"):
                places.check("a")
            with places.take("b"), places.take("b"), pytest.raises(ServiceBusy, match="requests"):
                places.check("c")
        places.check("a")

    def test_place_of_a_failed_request_is_given_back(self) -> None:
        places = Places(1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), places.take("a"):
                raise ZeroDivisionError
        places.check("a")
