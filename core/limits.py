"""Every limit and default of the kernel, named, with its reason.

Rule: a number that bounds memory, disk, time or count has its name here and nowhere else, so that a reader finds all of
them in one place and a test can find one that strayed. Sizes are octets (KiB/MiB = powers of two), times microseconds.
"""

from __future__ import annotations

from typing import Final

from core.clock import DAY, HOUR, MINUTE, SECOND

#: Payloads up to this size live in the database beside their parcel, so that one commit makes both durable (one fsync
#: instead of four); larger ones are files of the payload store.
INLINE_PAYLOAD: Final = 128 * 1024
#: Plaintext octets per encrypted chunk of the payload store: one chunk is all that is ever held of a payload.
STORE_CHUNK: Final = 1024 * 1024
#: Payloads in one parcel: many attachments are legitimate, thousands are an attack on the ledger.
PAYLOADS_PER_PARCEL: Final = 100
#: Largest single payload unless the integration says otherwise: file exchange of today ends at 2 GB.
PAYLOAD_SIZE: Final = 4 * 1024**3
#: Largest notification unless its integration says otherwise: the target picture's 600 KB, in binary units so that what others
#: count in decimal fits as well.
NOTIFICATION_SIZE: Final = 600 * 1024
#: Largest payload of a handover unless its integration says otherwise: the target picture's 120 MB holds a post item of 100 MB.
HANDOVER_SIZE: Final = 120 * 1024**2
#: Octets of a serialised payload description: it is indexed, logged by reference and shown to people.
DESCRIPTION_SIZE: Final = 64 * 1024
#: Length of one text value in a description.
DESCRIPTION_VALUE: Final = 1024
#: Classifications, references and subjects in one description.
DESCRIPTION_ITEMS: Final = 100
#: Uploads one system may have under way: as many payloads as a parcel has, and some that were given up.
UPLOADS: Final = 200
#: Octets that the uploads of one system may hold together: what one system gives up must not fill the store.
UPLOAD_OCTETS: Final = 32 * 1024**3
#: How long an upload is kept after the last octet came: a night and a working day to go on.
UPLOAD_LIFE: Final = DAY
#: Octets after which a long piece of an upload is made durable: what a crash in the middle costs at most.
UPLOAD_PIECE: Final = 32 * 1024**2
#: Pieces of one upload: each is a file, and its row lists them.
UPLOAD_PIECES: Final = 1000
#: How often one parcel may be redistributed: beyond that people send it in circles.
REDISTRIBUTIONS: Final = 10
#: Parcels of the residual mailbox in one answer: each says what every route thinks of it.
RESIDUAL_BATCH: Final = 50
#: Routes that are said of each: more than anybody reads.
RESIDUAL_ROUTES: Final = 100
#: Octets of a receipt as a receiving system says it: a code and some sentences.
RECEIPT_SIZE: Final = 64 * 1024
#: Receipts in one answer of a feed.
FEED_BATCH: Final = 200
#: How old a receipt is before a feed shows it where several nodes write: their numbers are drawn before they commit.
FEED_LAG: Final = 5 * SECOND
#: How long a key is remembered: longer than any sender retries.
KEY_WINDOW: Final = 90 * DAY
#: Retention of payloads, descriptions and evidence when the integration says nothing.
RETENTION: Final = 90 * DAY

#: Most items the writer takes into one transaction: enough to share the fsync, few enough to keep the wait short.
WRITER_BATCH: Final = 256
#: Things that may wait, such as parcels of the bulk lane, in one transaction that others wait for: some milliseconds of work, and
#: no call is divided.
WRITER_PATIENT: Final = 32
#: How long a busy writer waits for company before it commits; an idle one commits at once.
WRITER_WAIT: Final = 300
#: Commands that may wait for the writer; beyond it accept is refused (back-pressure) while settling goes on.
WRITER_QUEUE: Final = 4096

#: Octets of a page of a new SQLite ledger: of its fan-out a fifth less CPU than with 4096, and a single exchange costs the same.
SQLITE_PAGE: Final = 8192
#: Pages in SQLite's log before they go to where they belong: 32 MiB, so that what is written again and again goes there once.
SQLITE_CHECKPOINT: Final = 4000

#: How long one attempt may hold a delivery before another node may take it.
LEASE: Final = 60 * SECOND
#: Loans of a pulled delivery without an acknowledgement before it is set aside as a dead letter.
LOANS: Final = 20
#: How long a subscription may stay away while something waits for it before people are told.
IDLE: Final = HOUR
#: Events in one batch that is published.
PUBLISH_BATCH: Final = 256
#: Octets of small parcels that a node keeps at hand, accepted or fetched of late, so that twenty subscribers cost one reading.
RECENT: Final = 32 * 1024**2
#: What a parcel takes in memory beside its payloads, about.
PARCEL_OVERHEAD: Final = 4096
#: Longest a pull may wait for something to come: below what proxies allow an answer.
LONG_POLL: Final = 50 * SECOND
#: Deliveries one claim takes.
CLAIM_BATCH: Final = 64
#: Attempts in flight per node.
IN_FLIGHT: Final = 64
#: Leases that ended without a word (the process died) before a delivery is set aside as dangerous. All that is in flight when a
#: process dies is counted, so fewer than this would blame the innocent after a few unlucky restarts.
SILENT_DEATHS: Final = 5
#: Share of claims the bulk lane keeps even when urgent work waits: one in ten.
BULK_SHARE: Final = 10
#: How often a node looks for due work when nothing told it of any.
POLL: Final = SECOND
#: Attempts before a delivery fails, unless the partner's retry plan says otherwise.
ATTEMPTS: Final = 10
#: First wait of the default retry plan; it doubles up to `RETRY_CEILING`.
RETRY_FIRST: Final = 5 * SECOND
#: Longest wait between two attempts of the default retry plan.
RETRY_CEILING: Final = 30 * MINUTE

#: Attempts a node has in flight to one destination, unless its agreement says otherwise: a quarter of `IN_FLIGHT`, so that three
#: neighbours that hang leave room for the rest.
AT_ONCE: Final = 16
#: Attempts in a row that did not reach a destination before it is paused: fewer would let one lost connection stop a neighbour.
PAUSE_AFTER: Final = 5
#: First pause of a destination that cannot be reached; each is twice the one before, up to `PAUSE_CEILING`.
PAUSE_FIRST: Final = 10 * SECOND
#: Longest pause of a destination: how late at most it is noticed that a neighbour is back.
PAUSE_CEILING: Final = MINUTE
#: How long the attempt that asks whether a destination is back may take before another node asks as well.
PROBE: Final = 2 * MINUTE
#: Open deliveries to one destination at which more are refused: a neighbour that stays away must not fill the ledger.
WAITING_FOR_ONE: Final = 100_000
#: Open deliveries in all at which more are refused.
WAITING_IN_ALL: Final = 1_000_000
#: How often a node counts what waits; in between it adds what it accepts.
COUNT: Final = 5 * SECOND
#: What a sender is told to wait when too much waits.
COME_BACK: Final = 30 * SECOND

#: Times a node asks for the database's time at one look; the quickest answer is believed.
CLOCK_LOOKS: Final = 3
#: Answer to that question that is too late to be believed: half of it is how wrong it may be.
CLOCK_ANSWER: Final = 200_000
#: Clock difference between node and database that raises an alarm.
SKEW_ALARM: Final = 2 * SECOND
#: Clock difference that stops the node: leases would lie.
SKEW_STOP: Final = 30 * SECOND
#: Free space below which new parcels are refused; settling and deletion go on.
FREE_SPACE_RESERVE: Final = 512 * 1024**2
#: How long SIGTERM waits for attempts in flight.
DRAIN: Final = 30 * SECOND
#: Longest permitted transfer: an unreferenced object younger than this is left alone.
TRANSFER: Final = DAY
#: How long a backup keeps all nodes of a ledger from deleting objects unless it says so again, which it does three times as
#: often: well above `SKEW_STOP`, and short enough that a node that died in a backup is no matter.
DELETION_PAUSE: Final = 3 * MINUTE
#: Database connections per node.
CONNECTIONS: Final = 8
#: Time between two signed checkpoints of all trace chains.
CHECKPOINT: Final = MINUTE
#: Refusals at the door a gateway writes to the trace in one second; a flood of more is counted and logged only.
REFUSALS: Final = 20
#: Frames of an error that a log line shows, the innermost: an endless recursion must not fill the disk.
LOG_FRAMES: Final = 40

#: How old a responder's answer about a certificate may be: what was revoked since is believed at most that long.
RESPONSE_AGE: Final = 24 * HOUR
#: How far ahead of ours the clock of a responder may be.
RESPONSE_SKEW: Final = 5 * MINUTE
#: Certificates in a responder's answer that are tried for its signature: one is usual.
RESPONSE_CERTIFICATES: Final = 4
#: Octets of a responder's answer.
RESPONSE_SIZE: Final = 64 * 1024
#: Octets of a revocation list that is fetched: those of large public authorities are some MiB.
REVOCATION_LIST_SIZE: Final = 32 * 1024**2
#: Lists and responders that are asked for one certificate, of those it names.
REVOCATION_POINTS: Final = 4
#: Longest that fetching one list or answer may take.
REVOCATION_TIMEOUT: Final = 30 * SECOND
#: How long a start waits for the first answers; a message that comes before them would be refused.
REVOCATION_FIRST: Final = 10 * SECOND
#: Fetches of lists and answers at once.
REVOCATION_FETCHES: Final = 4
#: Shortest time between two fetches of the same list or answer, and the wait after a failed one, which doubles.
REVOCATION_PAUSE: Final = MINUTE
#: Longest time between two fetches, however long the last answer holds: what was revoked since is seen at most that late.
REVOCATION_REFRESH: Final = 6 * HOUR
#: Chains that partners have signed with under anchors, whose answers are kept fresh.
REVOCATION_CHAINS: Final = 1000
#: How long such a chain is looked after though nobody has signed with it.
REVOCATION_UNUSED: Final = 30 * DAY

#: How long a certificate that `stafet init` or `stafet add-system` makes is good: what browsers and libraries still take.
OWN_CERTIFICATE: Final = 397 * DAY
#: Requests of one asker that wait to be decided: more than a person will ever look at.
REQUESTS_PENDING: Final = 1000
#: Times that a change begins anew because the configuration moved on meanwhile: somebody changes it all the time.
CHANGE_ROUNDS: Final = 8
#: Rows of a list that one answer gives unless it is asked for more.
LIST_PAGE: Final = 50
#: Rows of a list that one answer gives at most.
LIST_MOST: Final = 500
#: Deliveries of one kind that are counted for the view of a backlog; beyond it, it says "at least".
BACKLOG_COUNTED: Final = 100_000
#: How long what waits for a subscription that is gone is kept: somebody may have removed it by mistake.
ABANDONED: Final = 7 * DAY
#: How often a node looks for what waits for subscriptions that are gone.
ABANDONED_LOOK: Final = HOUR
#: Dead letters that one command moves.
DEAD_BATCH: Final = 256
#: Dead letters that one call moves; the answer says how many are left.
DEAD_MOST: Final = 10_000
#: Stored notifications that one trial of a filter looks at.
TRIAL_LOOKED_AT: Final = 10_000
#: Longest that a trial of a filter takes; it says how far it came.
TRIAL_TIME: Final = 5 * SECOND
#: Days a trial of a filter looks back unless it is asked for others, and at most.
TRIAL_DAYS: Final = 30
#: Examples of each kind that a trial of a filter shows.
TRIAL_EXAMPLES: Final = 5
#: Trials of filters that one node makes at once: each keeps a core busy.
TRIALS: Final = 2
#: Parcels that one step of a replay or a trial looks at: a commit of a few milliseconds, behind which others wait.
REPLAY_BATCH: Final = 200
#: Deliveries that one replay makes at most.
REPLAY_MOST: Final = 100_000
#: How long an answer waits for a replay that may be done soon.
REPLAY_WAIT: Final = 2 * SECOND
#: How long a replay may stand still before another node takes it over: its own has died.
REPLAY_STALE: Final = MINUTE
#: How often a node looks for receipts that should have come: late enough to cost nothing, soon enough for a deadline of minutes.
OVERDUE_LOOK: Final = 10 * SECOND
#: Overdue receipts that one command marks: many at once must not hold the writer up.
OVERDUE_BATCH: Final = 500
#: How often a node looks for subscribers that stay away: the shortest time after which one can be said to.
IDLE_LOOK: Final = MINUTE
#: How often at most a node notes that a subscription's system has come: far more often than people ask for an alarm.
CAME: Final = 10 * SECOND
#: How often the hour that runs is summed up.
STATISTIC_LOOK: Final = 5 * MINUTE
#: Hours that one look sums up at most of each kind: a ledger that is old when sums begin is caught up with in turns.
STATISTIC_BATCH: Final = 200
#: For how long hours that are over are summed up again whenever another ends: most states change within a day.
STATISTIC_AGAIN: Final = 24 * HOUR
#: How long sums are kept: they hold no ids and no personal data, and people compare years.
STATISTIC_KEPT: Final = 1826 * DAY
#: How long it is kept who looked at what, unless the node says otherwise: the fixed time for logs that cannot be configured.
ACCESS_KEPT: Final = 90 * DAY
#: Entries of the usage log that one request makes at most: who acts on more at once is found by the first.
LOOKS_AT_ONCE: Final = 100
#: How long the same refusal of the same caller is not written down again: who asks in vain all day makes one line a minute.
REFUSED_AGAIN: Final = MINUTE
#: Refusals that a node remembers to have written down: more callers that ask in vain than there are systems.
REFUSED_TOLD: Final = 4096
#: Characters of what was looked at, as the usage log keeps it: what its column holds.
LOOKED_AT: Final = 255
#: Rows on a page when nobody says.
PAGE: Final = 50
#: Rows on a page at most: a page is made in memory.
PAGE_MOST: Final = 1000
#: How often a node looks for alarms to mail.
MAIL_LOOK: Final = 15 * SECOND
#: How long one node has the turn to mail: longer than a slow server takes for a handful of mails, short enough after a crash.
MAIL_TURN: Final = 5 * MINUTE
#: How long a mail server may take for one answer.
MAIL_TIMEOUT: Final = 20 * SECOND
#: Time between two mails about the same kind of alarm; what comes meanwhile is listed in the next.
MAIL_QUIET: Final = 15 * MINUTE
#: Alarms that one mail lists; the rest is counted.
MAIL_LISTED: Final = 50
#: Alarms that one look takes up: more stay for the next.
MAIL_BATCH: Final = 5000
#: Longest wait after mail servers that refuse or are not there; it doubles up to this.
MAIL_CEILING: Final = 30 * MINUTE

#: Routes in one configuration.
ROUTES: Final = 10_000
#: How long before its end people are told that a service agreement ends: a new one has to be asked for and approved.
AGREEMENT_SOON: Final = 30 * DAY
#: Configurations that wait for a second person at once: each is kept whole, and more than people can look at helps nobody.
PROPOSALS: Final = 20
#: How far back `stafet backtest` looks when it is not told: every monthly run of a system has come once.
BACKTEST_SINCE: Final = 30 * DAY
#: Descriptions that a backtest reads at a time: some MiB at most, however many parcels there are.
BACKTEST_PAGE: Final = 500
#: Parcels that a backtest names as examples of one difference: enough to look one up, few enough to read.
BACKTEST_EXAMPLES: Final = 3
#: Differences that a backtest tells apart; the rest is counted as one, so that memory stays flat whatever the parcels are.
BACKTEST_GROUPS: Final = 1000
#: Documents of a configuration that is checked over an API.
DOCUMENTS: Final = 20_000
#: Octets of one configuration document.
DOCUMENT_SIZE: Final = 1024 * 1024
#: Levels of lists and mappings in one configuration document: no kind has more than eight, and reading costs the square of them.
DOCUMENT_DEPTH: Final = 32
#: Octets of one CEL condition.
CONDITION_SIZE: Final = 4096
#: Octets of one request on the node's local socket, payloads excepted (they go by path).
LOCAL_REQUEST: Final = 1024 * 1024

#: Connections a gateway over HTTP keeps open at once: each costs some ten KiB, and a pull that waits holds one.
HTTP_CONNECTIONS: Final = 2000
#: Requests of one gateway over HTTP that are under way at once, pulls that wait included: half of the connections may wait.
HTTP_REQUESTS: Final = 1000
#: Octets of a request's body that is read as a whole: a notification, its description and their quoting in JSON.
HTTP_BODY: Final = 2 * 1024**2
#: Octets of one line or header of a request: a token is the longest there is.
HTTP_LINE: Final = 16 * 1024
#: Octets of one header line of a part of a multipart body: a file's name in one of its long encodings.
PART_LINE: Final = 8 * 1024
#: Longest wait for the next octets of a request.
HTTP_READ: Final = 30 * SECOND
#: How long a connection may be idle between two requests.
HTTP_IDLE: Final = 75 * SECOND
#: Octets of a token: those of large issuers with many roles are some KiB, and it must fit a header's line.
TOKEN_SIZE: Final = 12 * 1024
#: Octets of a token's header, which is read before the signature is checked.
TOKEN_HEADER: Final = 2048
#: How far the clock of an issuer may be from ours.
TOKEN_LEEWAY: Final = 60 * SECOND
#: Longest time a token may hold: it cannot be called back, so what it allows must end soon.
TOKEN_LIFE: Final = HOUR
#: Roles of a token that are read; more are an attack or an error.
TOKEN_ROLES: Final = 256
#: Tokens whose check is remembered while they hold: one for each caller of a large node, and checking costs more than all else.
TOKENS: Final = 4096
#: Octets of an issuer's keys: some dozen of the largest kind.
KEY_SET_SIZE: Final = 256 * 1024
#: Keys of an issuer; two or three are usual while one replaces another.
KEY_SET_KEYS: Final = 64
#: How long an issuer's keys are used when its server does not say.
KEY_SET_AGE: Final = 10 * MINUTE
#: Longest that keys are used before the issuer is asked again, whatever its server says: what it took back is believed that long.
KEY_SET_LONGEST: Final = HOUR
#: How long beyond that they are used while the issuer cannot be reached: its outage must not be ours at once.
KEY_SET_STALE: Final = 6 * HOUR
#: Shortest time between two questions to an issuer, whoever shows unknown keys.
KEY_SET_PAUSE: Final = 10 * SECOND
#: Longest that fetching an issuer's keys may take.
KEY_SET_TIMEOUT: Final = 10 * SECOND

#: Findings a refusal of a payload lists: enough to see what kind of mistake it is, and an answer stays short.
FINDINGS: Final = 20
#: Octets of a JSON payload that is checked against a schema: checking costs some twenty times as much memory.
VALIDATED_SIZE: Final = 16 * 1024**2
#: Octets of a JSON payload up to which everything wrong is looked for; of a larger one the first is named, because collecting
#: millions of them costs minutes.
FINDINGS_SIZE: Final = 32 * 1024
#: Payloads above this are checked in a thread, smaller ones at once: a few milliseconds either way.
CHECKED_AT_ONCE: Final = 64 * 1024
#: Octets of an XML payload handed to the parser in one piece: after each it is asked whether anything is wrong so far.
CHECKED_PIECE: Final = 64 * 1024
#: Octets of an XML payload up to which the place of what is wrong is found; beyond, the line is told about: finding a place takes
#: half a second for each MiB before it.
PLACES_SIZE: Final = 16 * 1024**2
#: Elements, or objects and lists, in each other in a payload that is checked: no contract needs as many, and each level costs.
CONTENT_DEPTH: Final = 200
#: How long one step of enrichment may take: the sender waits for its answer meanwhile.
ENRICHMENT_TIME: Final = 5 * SECOND
#: Steps of enrichment that may be under way at once for one gateway; those that never end are counted too.
ENRICHMENTS: Final = 32
#: Values in one value list: every citizen of a large municipality, and a node that asks holds 100 octets for each.
LIST_VALUES: Final = 1_000_000
#: Values of a list written in one commit: the writer is not kept from other work for longer than some milliseconds.
LIST_BATCH: Final = 2_000
#: Values in one call that adds or removes some; whole lists come as text.
LIST_CALL: Final = 10_000
#: Values in one call that asks: each is one look into the ledger.
LIST_ASKED: Final = 1000
#: Octets of a whole list as JSON, which is read as a whole.
LIST_BODY: Final = 16 * 1024**2
#: Characters of one line of a list as text, of which a value is a part.
LIST_LINE: Final = 4096
#: Length of one value of a value list.
LIST_VALUE: Final = 255
#: Octets of plaintext per chunk of a sealed payload: what sealing and opening hold at a time, and what other openers must.
SEAL_CHUNK: Final = 128 * 1024
#: Octets before the content of a sealed payload, and again behind it: the recipients' keys are most of it. Who looks at the first
#: octets of a payload needs this many.
SEAL_HEADER: Final = 128 * 1024
#: Octets of one algorithm of a sealed payload with its parameters: all that are in use have fewer than a hundred, and reading an
#: object identifier costs the square of its length.
SEAL_ALGORITHM: Final = 1024
#: Recipients of one sealed payload: each costs its reader a little, and a file goes to a few systems.
SEAL_RECIPIENTS: Final = 100
#: Levels of elements inside one of a sealed payload's header: names and key parameters have fewer than ten.
SEAL_DEPTH: Final = 16
#: Octets sealed under one content key: what AES-GCM is safe for (2^39 - 256 bits, NIST SP 800-38D).
SEAL_SIZE: Final = 2**36 - 32
#: Bits of an RSA key that is sealed for: shorter ones can be broken within the life of what is sealed.
SEAL_RSA_BITS: Final = 2048

#: Seconds' worth of a quota's rate that may come at once, unless the quota says how many: a system that wakes up has a backlog.
QUOTA_BURST: Final = 10
#: How long after a parcel was begun it may still be committed for the sums of a day to find it at the next count; one that took
#: longer is found by the next whole count.
QUOTA_LAG: Final = 10 * MINUTE
#: How often a day's sums are counted as a whole; in between only what is new.
QUOTA_WHOLE: Final = HOUR
#: Senders in one question about a day's sums.
QUOTA_SENDERS: Final = 500
