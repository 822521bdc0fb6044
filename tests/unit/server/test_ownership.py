"""Owners: agreement needs none, the first owner who speaks decides, a disagreement without one is a conflict."""

from hypothesis import given
from hypothesis import strategies as st

from tillbridge_server.core.ownership import Claim, Conflict, owners_of, settle

A, B, C = Claim("ennis", "stock", "red"), Claim("mallow", "stock", "blue"), Claim("office", "prices", "green")


def test_nobody_says_anything() -> None:
    """Unknown is neither a value nor a conflict."""
    assert settle("price", [], {"price": ("stock",)}) is None


def test_agreement_needs_no_owner() -> None:
    """The first place by name is quoted."""
    assert settle("price", [Claim("naas", "erp", "red"), A], {}) == A


def test_the_first_owner_that_says_something_decides() -> None:
    """An owner without an opinion hands on to the next."""
    assert settle("price", [A, B, C], {"price": ("office/prices", "stock")}) == C
    assert settle("price", [A, C], {"price": ("erp", "mallow/stock", "stock")}) == A


def test_one_feed_in_several_locations_owns_only_if_they_agree() -> None:
    """Naming "stock" does not say whose stock file is right."""
    found = settle("price", [A, B, C], {"price": ("stock",)})
    assert isinstance(found, Conflict)
    assert found.values == (("ennis/stock", "red"), ("mallow/stock", "blue"))
    assert found.owners_tried == ("stock",)


def test_owners_of_another_feed_do_not_settle_a_disagreement() -> None:
    """An owner that says nothing about this variant leaves it open."""
    assert isinstance(settle("price", [A, B], {"price": ("prices",)}), Conflict)


def test_a_field_may_have_its_own_owners() -> None:
    """Before those of its kind."""
    owners = {"product": ("erp",), "product.title": ("web",)}
    assert owners_of(owners, "product.title") == ("web",)
    assert owners_of(owners, "product.brand") == ("erp",)
    assert owners_of(owners, "price") == ()


claims = st.builds(Claim, st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from([1, 2]))


@given(st.lists(claims, max_size=6).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))),
       st.lists(st.sampled_from(["x", "y", "a/z"]), max_size=3))
def test_the_order_of_claims_changes_nothing(
    both: tuple[list[Claim[int]], list[Claim[int]]], owners: list[str]
) -> None:
    """Two servers reading the same facts decide the same."""
    def judged(some: list[Claim[int]]) -> object:
        found = settle("f", some, {"f": owners})
        return found.value if isinstance(found, Claim) else found and sorted(found.values)
    assert judged(both[0]) == judged(both[1])
