"""A made mailbox, to measure the import of mail.

    python3 bench/mail.py OUT.mbox [N_MAILS]
    cargo build --release -p import --example mail
    target/release/examples/mail OUT.mbox --quiet @firm.example

prints mails per second and the peak of memory. Half of the mails are plain text, a quarter multipart/alternative in quoted-printable,
a fifth HTML in base64 with Gmail's quotes, the rest carry an attachment of 60 KB. Threads have one to four mails.
"""
import base64, datetime, quopri, random, sys
from email.utils import format_datetime

path, n = sys.argv[1], int((sys.argv[2:] + ["50000"])[0])
random.seed(5)
words = "invoice order router password delivery contract meter account refund warranty parcel light cable screen payment address tariff".split()
closings = ["Best regards,\n%s\nPhone: +49 30 1234567", "Mit freundlichen Grüßen\n%s", "Cordialement,\n%s", "-- \n%s\nFirm GmbH"]
lines = lambda k: "\n".join(" ".join(random.choices(words, k=12)) for _ in range(k))
page = lambda text: ("<html><head><style>p{}</style></head><body><p>" + text.replace("\n", "<br>") + "</p></body></html>").encode()
start, made, thread = datetime.datetime(2024, 1, 1), 0, 0


def body(text, quote):
    below = "\nOn Mon, Jan 1, 2024 at 9:15 AM X <x@y.example> wrote:\n" + "\n".join("> " + q for q in quote.split("\n")) if quote else ""
    kind, whole = random.random(), text + below
    if kind < 0.5:
        return "Content-Type: text/plain; charset=utf-8\n\n", whole.encode()
    if kind < 0.75:
        plain, rich = quopri.encodestring(whole.encode()), quopri.encodestring(page(whole))
        part = b"--bb\nContent-Type: text/%s; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n%s\n"
        return "Content-Type: multipart/alternative; boundary=bb\n\n", part % (b"plain", plain) + part % (b"html", rich) + b"--bb--\n"
    if kind < 0.95:
        quoted = '<div class="gmail_quote">On Mon, Jan 1, 2024 X wrote:<blockquote>%s</blockquote></div>' % quote if quote else ""
        return "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n", base64.encodebytes(page(text + quoted))
    pdf = base64.encodebytes(random.randbytes(60000))
    parts = b"--mm\nContent-Type: text/plain; charset=utf-8\n\n%s\n--mm\nContent-Type: application/pdf; name=a.pdf\n" % whole.encode()
    return "Content-Type: multipart/mixed; boundary=mm\n\n", parts + b"Content-Transfer-Encoding: base64\n\n" + pdf + b"--mm--\n"


with open(path, "wb") as out:
    while made < n:
        thread, before, quote = thread + 1, [], ""
        for turn in range(min(random.choice([1, 2, 2, 3, 4]), n - made)):
            made += 1
            customer, agent = f"c{thread}@host{thread % 5000}.example", f"agent{random.randrange(9)}@firm.example"
            sender, to = (agent, customer) if turn % 2 else (customer, "help@firm.example")
            name, date = f"<{made}.{thread}@x.example>", format_datetime(start + datetime.timedelta(minutes=thread * 7 + turn * 30))
            text = lines(random.randrange(3, 9)) + f"\nnumber {made}\n\n" + random.choice(closings) % sender + "\n"
            head = f"From {sender} Mon Jan  1 09:00:00 2024\nFrom: Name {thread} <{sender}>\nTo: {to}\nSubject: {'Re: ' if turn else ''}ticket {thread}\n"
            head += f"Date: {date}\nMessage-ID: {name}\nMIME-Version: 1.0\n"
            head += f"References: {' '.join(before)}\n" if before else ""
            kind, content = body(text, quote)
            out.write((head + kind).encode() + content + b"\n\n")
            before, quote = before + [name], text
