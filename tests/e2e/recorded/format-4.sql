-- The data file of cemesh as of e7e16a0, the last one of format 4, after `kill -9`: the dump of SQLite,
-- whose header said application_id 0x63656D65 and user_version 4.
--
-- Events had been delivered to `done`, given up for `dead`, and wait: for `held`, which is paused,
-- for the second attempt at `waiting`, `others` and, in their order, `keyed`.

BEGIN TRANSACTION;
CREATE TABLE broker (
    id       INTEGER PRIMARY KEY,
    key      TEXT NOT NULL UNIQUE,      -- namespace/name
    tail     INTEGER NOT NULL,          -- position of the newest event, never used again
    total    INTEGER NOT NULL,          -- bytes of all events ever appended
    swept    INTEGER NOT NULL,          -- every subscribed trigger has been asked up to here
    accepted INTEGER NOT NULL           -- events ever appended
) STRICT;
INSERT INTO "broker" VALUES(1,'default/default',13,2550,13,13);
INSERT INTO "broker" VALUES(2,'default/other',1,192,1,1);
CREATE TABLE checkpoint (               -- how far a source has come
    broker  INTEGER NOT NULL REFERENCES broker,
    source  TEXT NOT NULL,              -- Kind namespace/name
    place   BLOB NOT NULL,              -- what it said itself
    PRIMARY KEY (broker, source)
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letter (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    broker  INTEGER NOT NULL REFERENCES broker,
    trigger TEXT NOT NULL,
    at      INTEGER NOT NULL,           -- microseconds since 1970
    why     TEXT NOT NULL,              -- JSON of the refusal
    hops    INTEGER NOT NULL,
    head    TEXT NOT NULL,              -- JSON of the attributes
    data    BLOB
) STRICT;
INSERT INTO "dead_letter" VALUES(114907464162522240,1,'default/dead',1795429127539410,'{"destination":"http://127.0.0.1:35153/gone","reason":"400 Bad Request","status":400,"body":"","attempts":1}',0,'{"specversion":"1.0","id":"dead-1","source":"/tests","type":"dead","datacontenttype":"application/json"}',X'7B20226E616D6522203A2022646561642D3122207D');
INSERT INTO "dead_letter" VALUES(114907464162610816,1,'default/dead',1795429127540794,'{"destination":"http://127.0.0.1:35153/gone","reason":"400 Bad Request","status":400,"body":"","attempts":1}',0,'{"specversion":"1.0","id":"dead-2","source":"/tests","type":"dead","datacontenttype":"application/json"}',X'7B20226E616D6522203A2022646561642D3222207D');
CREATE TABLE deferred (
    place     INTEGER NOT NULL REFERENCES place,
    position  INTEGER NOT NULL,
    due       INTEGER NOT NULL,         -- microseconds since 1970
    attempts  INTEGER NOT NULL,
    condemned TEXT,                     -- JSON of the refusal
    PRIMARY KEY (place, position)
) STRICT, WITHOUT ROWID;
INSERT INTO "deferred" VALUES(2,8,1795429690421615,1,NULL);
INSERT INTO "deferred" VALUES(2,9,1795429727547196,1,NULL);
INSERT INTO "deferred" VALUES(2,10,1795429727549654,1,NULL);
INSERT INTO "deferred" VALUES(6,1,1795429726128446,1,NULL);
CREATE TABLE log_1 (
    position  INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,         -- microseconds since 1970 when accepted
    total     INTEGER NOT NULL,         -- bytes of all events up to this one
    hops      INTEGER NOT NULL,
    addressee TEXT,                     -- the one trigger it is for, or NULL
    head      TEXT NOT NULL,            -- JSON of the attributes
    data      BLOB
) STRICT
;
INSERT INTO "log_1" VALUES(1,1795429127534654,189,0,NULL,'{"specversion":"1.0","id":"done-1","source":"/tests","type":"done","datacontenttype":"application/json"}',X'7B20226E616D6522203A2022646F6E652D3122207D');
INSERT INTO "log_1" VALUES(2,1795429127536560,378,0,NULL,'{"specversion":"1.0","id":"done-2","source":"/tests","type":"done","datacontenttype":"application/json"}',X'7B20226E616D6522203A2022646F6E652D3222207D');
INSERT INTO "log_1" VALUES(3,1795429127537988,567,0,NULL,'{"specversion":"1.0","id":"dead-1","source":"/tests","type":"dead","datacontenttype":"application/json"}',X'7B20226E616D6522203A2022646561642D3122207D');
INSERT INTO "log_1" VALUES(4,1795429127539561,756,0,NULL,'{"specversion":"1.0","id":"dead-2","source":"/tests","type":"dead","datacontenttype":"application/json"}',X'7B20226E616D6522203A2022646561642D3222207D');
INSERT INTO "log_1" VALUES(5,1795429127540933,945,0,NULL,'{"specversion":"1.0","id":"held-1","source":"/tests","type":"held","datacontenttype":"application/json"}',X'7B20226E616D6522203A202268656C642D3122207D');
INSERT INTO "log_1" VALUES(6,1795429127542213,1134,0,NULL,'{"specversion":"1.0","id":"held-2","source":"/tests","type":"held","datacontenttype":"application/json"}',X'7B20226E616D6522203A202268656C642D3222207D');
INSERT INTO "log_1" VALUES(7,1795429127543293,1323,0,NULL,'{"specversion":"1.0","id":"held-3","source":"/tests","type":"held","datacontenttype":"application/json"}',X'7B20226E616D6522203A202268656C642D3322207D');
INSERT INTO "log_1" VALUES(8,1795429127544408,1521,0,NULL,'{"specversion":"1.0","id":"waiting-1","source":"/tests","type":"waiting","datacontenttype":"application/json"}',X'7B20226E616D6522203A202277616974696E672D3122207D');
INSERT INTO "log_1" VALUES(9,1795429127545698,1719,0,NULL,'{"specversion":"1.0","id":"waiting-2","source":"/tests","type":"waiting","datacontenttype":"application/json"}',X'7B20226E616D6522203A202277616974696E672D3222207D');
INSERT INTO "log_1" VALUES(10,1795429127547081,1917,0,NULL,'{"specversion":"1.0","id":"waiting-3","source":"/tests","type":"waiting","datacontenttype":"application/json"}',X'7B20226E616D6522203A202277616974696E672D3322207D');
INSERT INTO "log_1" VALUES(11,1795429127550195,2128,0,NULL,'{"specversion":"1.0","id":"keyed-1","source":"/tests","type":"keyed","partitionkey":"k","datacontenttype":"application/json"}',X'7B20226E616D6522203A20226B657965642D3122207D');
INSERT INTO "log_1" VALUES(12,1795429127551770,2339,0,NULL,'{"specversion":"1.0","id":"keyed-2","source":"/tests","type":"keyed","partitionkey":"k","datacontenttype":"application/json"}',X'7B20226E616D6522203A20226B657965642D3222207D');
INSERT INTO "log_1" VALUES(13,1795429127552891,2550,0,NULL,'{"specversion":"1.0","id":"keyed-3","source":"/tests","type":"keyed","partitionkey":"k","datacontenttype":"application/json"}',X'7B20226E616D6522203A20226B657965642D3322207D');
CREATE TABLE log_2 (
    position  INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,         -- microseconds since 1970 when accepted
    total     INTEGER NOT NULL,         -- bytes of all events up to this one
    hops      INTEGER NOT NULL,
    addressee TEXT,                     -- the one trigger it is for, or NULL
    head      TEXT NOT NULL,            -- JSON of the attributes
    data      BLOB
) STRICT
;
INSERT INTO "log_2" VALUES(1,1795429127554158,192,0,NULL,'{"specversion":"1.0","id":"other-1","source":"/tests","type":"other","datacontenttype":"application/json"}',X'7B20226E616D6522203A20226F746865722D3122207D');
CREATE TABLE pause (                    -- a trigger that gets nothing until it is resumed
    broker  INTEGER NOT NULL REFERENCES broker,
    trigger TEXT NOT NULL,
    why     TEXT NOT NULL,
    since   INTEGER NOT NULL,           -- microseconds since 1970
    destination TEXT,                   -- the subscriber that it is about, or NULL
    PRIMARY KEY (broker, trigger)
) STRICT, WITHOUT ROWID;
INSERT INTO "pause" VALUES(1,'default/held','a change of the warehouse',1795429127532567,NULL);
CREATE TABLE place (                    -- a trigger's place in its broker's log
    id        INTEGER PRIMARY KEY,
    broker    INTEGER NOT NULL REFERENCES broker,
    trigger   TEXT NOT NULL,            -- namespace/name
    filter    TEXT NOT NULL,            -- repr of the filter that the counts below are by
    read      INTEGER,                  -- what matched up to here is in open, deferred or done;
                                        -- NULL: up to the broker's swept
    open      TEXT NOT NULL,            -- JSON [[position, attempts, refusal | null], …]: claimed
    matched   INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    dead      INTEGER NOT NULL,
    backlog   INTEGER NOT NULL,         -- counted as matched, but beyond read
    gap_from  INTEGER NOT NULL,         -- not yet counted: beyond gap_from up to gap_to
    gap_to    INTEGER NOT NULL,
    left_at   INTEGER,                  -- swept when the trigger went; NULL: it is subscribed
    left_time INTEGER NOT NULL,         -- microseconds since 1970 when it went
    gone      INTEGER NOT NULL,         -- 1 when it left the manifests
    lines     TEXT,                     -- JSON: what waits in order of its key; NULL: nothing
    UNIQUE (broker, trigger)
) STRICT;
INSERT INTO "place" VALUES(1,1,'default/done','All(filters=(Exact(entries=((''type'', ''done''),)),))',NULL,'[]',2,2,0,0,0,0,NULL,1795429127514737,0,NULL);
INSERT INTO "place" VALUES(2,1,'default/waiting','All(filters=(Exact(entries=((''type'', ''waiting''),)),))',NULL,'[]',3,0,0,0,0,0,NULL,1795429127514909,0,NULL);
INSERT INTO "place" VALUES(3,1,'default/dead','All(filters=(Exact(entries=((''type'', ''dead''),)),))',NULL,'[]',2,0,2,0,0,0,NULL,1795429127514965,0,NULL);
INSERT INTO "place" VALUES(4,1,'default/held','All(filters=(Exact(entries=((''type'', ''held''),)),))',5,'[[5,0,null]]',3,0,0,2,0,0,NULL,1795429127515014,0,NULL);
INSERT INTO "place" VALUES(5,1,'default/keyed','All(filters=(Exact(entries=((''type'', ''keyed''),)),))',NULL,'[[11,1,null]]',3,0,0,0,0,0,NULL,1795429127515067,0,'{"due":[[11,1795429727551666]],"lines":[["k",11,13,2]]}');
INSERT INTO "place" VALUES(6,2,'default/others','All(filters=())',NULL,'[]',1,0,0,0,0,0,NULL,1795429127515117,0,NULL);
CREATE INDEX deferred_by_due ON deferred (place, due);
CREATE INDEX dead_letter_by_broker ON dead_letter (broker, id);
CREATE INDEX dead_letter_by_trigger ON dead_letter (broker, trigger, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('dead_letter',114907464162610816);
COMMIT;
