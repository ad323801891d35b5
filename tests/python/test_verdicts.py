"""How a verdict is shown: one line, every check, a table in a notebook; always safe to print."""

import html.parser

import mlprov
from mlprov.verdicts import Check, Verdict

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&\"'\n"


def verdict(*states, name="little", **options):
    checks = tuple(
        Check(f"check{number}", state, f"detail {number}") for number, state in enumerate(states)
    )
    return Verdict("x.mlprov", checks, facts={"name": name}, **options)


class Page(html.parser.HTMLParser):
    """The tags and the cells of a page, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows = set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows:
            self.rows[-1][-1] += data


def test_the_repr_is_one_line_with_result_subject_and_counts():
    assert repr(verdict("holds", "holds", "fails", "unchecked")) == (
        "<mlprov.Verdict does not hold: x.mlprov; of 4 checks 2 hold, 1 fail, 1 unchecked>"
    )
    long = Verdict("s" * 10_000, ())
    assert len(repr(long)) < 200


def test_the_text_has_every_check_and_ends_with_the_summary():
    lines = str(verdict("holds", "unchecked")).splitlines()
    assert lines == [
        "holds      check0  detail 0",
        "unchecked  check1  detail 1",
        "x.mlprov (little): could not check (check1)",
    ]


def test_the_summary_names_the_checks_that_decide():
    assert verdict("holds").summary == "x.mlprov (little): holds"
    assert verdict("fails", "unchecked", "fails").summary.endswith("does not hold (check0, check2)")
    assert verdict("holds", name=None).summary == "x.mlprov: holds"
    newer = verdict("holds", newer=2)
    assert newer.summary == "x.mlprov (little): could not check (format version 2)"


def test_the_summary_says_that_a_run_had_not_ended(here):
    assert "had not ended" not in mlprov.verify(here.bundle).summary
    for ended, said in ((True, False), (False, True)):
        shown = Verdict("x", (Check("a", "holds", ""),), facts={"ended": ended}).summary
        assert ("had not ended" in shown) is said


def test_a_notebook_shows_a_table_of_the_checks(here):
    shown = mlprov.verify(here.bundle)
    page = Page(shown._repr_html_())
    assert page.tags == {"p", "b", "table", "tr", "td"}
    assert page.rows == [[check.state, check.name, check.detail] for check in shown.checks]


def test_the_printer_of_ipython_is_given_the_whole_text():
    class Printer:
        def text(self, text):
            self.given = text

    printer = Printer()
    shown = verdict("holds", "fails")
    shown._repr_pretty_(printer, cycle=False)
    assert printer.given == str(shown)


def test_what_evidence_says_is_escaped_wherever_it_is_shown():
    check = Check(HOSTILE, "fails", HOSTILE, HOSTILE, HOSTILE)
    shown = Verdict(HOSTILE, (check,), facts={"name": HOSTILE})
    for text in (repr(shown), shown.summary, str(shown), shown._repr_html_()):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert len(str(shown).splitlines()) == 2
    page = Page(shown._repr_html_())
    assert page.tags == {"p", "b", "table", "tr", "td"}
    assert "<script>" in page.rows[0][1]  # as text: the tag was not opened


def test_a_megabyte_of_detail_does_not_flood_a_notebook():
    shown = Verdict("x", (Check("a", "holds", "d" * 1_000_000),))
    assert len(shown._repr_html_()) < 10_000
    assert len(str(shown)) > 1_000_000
