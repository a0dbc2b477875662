//! HTML as mail programs write it, and as attackers do.

use super::*;

#[test]
fn blocks_lists_tables_and_links_become_lines() {
    let html = "<html><head><title>no</title><style>p{color:red}</style></head><body><p>Hello &amp; welcome,<br>K&uuml;che &#8364;5</p>\
        <ul><li>one</li><li>two <b>bold</b></li></ul><ol start=3><li>three<li>four</ol><table><tr><td>a</td><td>b</td></tr></table>\
        See <a href='https://firm.example/help'>our page</a>, <a href=\"https://firm.example\">firm.example</a>.</body></html>";
    let expected = "Hello & welcome,\nKüche €5\n\n- one\n- two bold\n3. three\n4. four\na | b\n\
        See our page (https://firm.example/help), firm.example.";
    assert_eq!(text(html), expected);
}

#[test]
fn nothing_that_runs_tracks_or_hides_survives() {
    let html = "a<script>alert('x')</script >b<SCRIPT\nsrc=x>evil()</SCRIPT>c<style>d{}</style><!-- <b>e</b> --><![if !mso]>f<![endif]>\
        <img src='https://track.example/?id=1' width=1 height=1 alt='pixel'><img src=x alt='a chart' onerror=alert(1)>\
        <div style='display: none'>hidden<div>more</div></div><iframe src=x>g</iframe><noscript>h</noscript><svg><script>i</script></svg>\
        <a href='javascript:alert(1)'>j</a><form action=x><input value=secret><textarea>k</textarea></form><a href=\"data:text/html,x\">l</a>";
    assert_eq!(text(html), "abcf a chart j\nl");
}

#[test]
fn quotes_and_signatures_of_mail_programs_are_marked() {
    let gmail = "<div dir=ltr>Yes.</div><br><div class=\"gmail_quote\"><div class=gmail_attr>On 1 May 2024 A wrote:</div>\
        <blockquote class=gmail_quote>Shall I?<blockquote type=cite>Deep</blockquote></blockquote></div>After";
    assert_eq!(text(gmail), "Yes.\n\n> On 1 May 2024 A wrote:\n>> Shall I?\n>>> Deep\nAfter");
    assert_eq!(text("Yes.<div class='gmail_signature'>Ann<br>Firm</div>"), "Yes.\n--\nAnn\nFirm");
    assert_eq!(text("<blockquote>An indented rule</blockquote>"), "An indented rule");
}

#[test]
fn broken_html_neither_hangs_nor_loses_its_text() {
    assert_eq!(text("1 < 2 & 3 > 2 &unknown; &"), "1 < 2 & 3 > 2 &unknown; &");
    assert_eq!(text("<b>bold<i>both</b>after<p>new"), "boldbothafter\n\nnew");
    assert_eq!(text("a <b"), "a");
    assert_eq!(text("a<script>never closed"), "a");
    assert_eq!(text("x<a href='y>z"), "x");
    for part in ["<div>", "</p>", "<a href=", "<blockquote type=cite>", "&#", "<!--", "<li>", "<"] {
        let begun = std::time::Instant::now();
        text(&part.repeat(20_000));
        assert!(begun.elapsed().as_secs() < 30, "{part} took {:?}", begun.elapsed());
    }
}

#[test]
fn html_is_told_from_text() {
    assert!(is_html("<p>Hello</p>") && is_html("a<br>b") && is_html("x <script>alert(1)</script>"));
    assert!(!is_html("if a < b and b > c") && !is_html("Anna <anna@shop.example>") && !is_html("use Vec<u8>"));
}
