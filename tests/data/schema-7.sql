-- A database as the version before secrets wrote it, dumped as SQL. Tests load it and bring it up
-- to date; it is never written anew.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE "api_keys" (
         id TEXT PRIMARY KEY NOT NULL,
         hash TEXT NOT NULL UNIQUE,
         old_hash TEXT NOT NULL,
         old_until_ms INTEGER NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
         role TEXT NOT NULL,
         user TEXT NOT NULL,
         label TEXT NOT NULL,
         narrowing TEXT NOT NULL,
         clearance TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         expires_ms INTEGER NOT NULL
       ) STRICT;
INSERT INTO "api_keys" VALUES('operator','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','',0,'default','platform','','made at the first start','','secret',1764000001000,0);
INSERT INTO "api_keys" VALUES('kacme','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1764000009000,'acme','owner','o''neil','it''s "quoted"','{"agent":"build/a"}','internal',1764000002000,1799999999000);
CREATE TABLE links (
         id TEXT PRIMARY KEY NOT NULL,
         from_box TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
         to_box TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
         port INTEGER NOT NULL,
         name TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         UNIQUE (from_box, name)
       ) STRICT;
INSERT INTO "links" VALUES('link-1','iaaaa','ibbbb',5432,'db.box',1764000020000);
CREATE TABLE revoked_tokens (
         identifier TEXT PRIMARY KEY NOT NULL,
         key_id TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
         until_ms INTEGER NOT NULL
       ) STRICT;
INSERT INTO "revoked_tokens" VALUES('kacme.0123456789abcdef','kacme',1799999999000);
CREATE TABLE "sandboxes" (
         id TEXT PRIMARY KEY NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         state TEXT NOT NULL
           CHECK (state IN ('starting', 'running', 'pausing', 'paused', 'resuming')),
         started_ms INTEGER NOT NULL,
         ends_ms INTEGER NOT NULL,
         metadata TEXT NOT NULL,
         access_token TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         isolation TEXT NOT NULL,
         key_id TEXT NOT NULL,
         options TEXT NOT NULL,
         traffic_token TEXT NOT NULL,
         label TEXT NOT NULL,
         egress TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         budgets TEXT NOT NULL,
         grants TEXT NOT NULL,
         pauses INTEGER NOT NULL,
         with_memory INTEGER NOT NULL
       ) STRICT;
INSERT INTO "sandboxes" VALUES('iaaaa','tpl-app','team/app','running',1764000010500,1764003610000,'{"user":"o''neil","stage":"x\ny"}','token-a',2,512,4096,'emulated','kacme','{"autoPause":true,"timeout":60}','traffic-a','confidential','{"layers":[]}','acme','build/a','["key:kacme"]','[{"token":"t"}]',0,1);
INSERT INTO "sandboxes" VALUES('ibbbb','base','base','paused',1764000011500,1764003611000,'','',1,256,4096,'hardware','k-gone','','','public','','default','','','',2,0);
INSERT INTO "sandboxes" VALUES('icccc','base','base','starting',1764000012000,1764003612000,'','',0,0,0,'','operator','','','public','','default','','','',0,1);
CREATE TABLE snapshots (
         id TEXT PRIMARY KEY NOT NULL,
         state TEXT NOT NULL CHECK (state IN ('making', 'ready')),
         name TEXT NOT NULL,
         sandbox TEXT NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         key_id TEXT NOT NULL,
         label TEXT NOT NULL,
         options TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         created_ms INTEGER NOT NULL
       ) STRICT;
INSERT INTO "snapshots" VALUES('s-aaaaaaaaaaaaaaaaaaaa','ready','before:default','iaaaa','base','','acme','build/a','kacme','internal','{}',2,512,4096,1048576,1764000030000);
CREATE TABLE template_builds (
         id TEXT PRIMARY KEY NOT NULL,
         template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
         state TEXT NOT NULL CHECK (state IN ('waiting', 'building', 'ready', 'error')),
         image INTEGER NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         created_ms INTEGER NOT NULL,
         finished_ms INTEGER NOT NULL,
         tags TEXT NOT NULL,
         reason TEXT NOT NULL,
         step TEXT NOT NULL,
         log TEXT NOT NULL
       ) STRICT;
INSERT INTO "template_builds" VALUES('build-1','tpl-app','ready',1,2,512,4096,1764000003500,1764000003900,'v1 latest','','','[{"message":"it''s\nbuilt"}]');
CREATE TABLE template_tags (
         template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
         tag TEXT NOT NULL,
         build_id TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         PRIMARY KEY (template_id, tag)
       ) STRICT;
INSERT INTO "template_tags" VALUES('tpl-app','default','build-1',1764000003950);
CREATE TABLE "templates" (
         id TEXT PRIMARY KEY NOT NULL,
         name TEXT NOT NULL,
         public INTEGER NOT NULL,
         created_ms INTEGER NOT NULL,
         updated_ms INTEGER NOT NULL,
         key_id TEXT NOT NULL,
         label TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         UNIQUE (tenant, name)
       ) STRICT;
INSERT INTO "templates" VALUES('tpl-app','team/app',0,1764000003000,1764000004000,'kacme','internal','acme','build/a');
CREATE TABLE tenants (
         name TEXT PRIMARY KEY NOT NULL,
         policy TEXT NOT NULL,
         quota TEXT NOT NULL,
         suspended INTEGER NOT NULL,
         created_ms INTEGER NOT NULL
       ) STRICT;
INSERT INTO "tenants" VALUES('default','','',0,1764000000000);
INSERT INTO "tenants" VALUES('acme','{"egress":{"level":"none"}}','{"boxes":3}',1,1764000000500);
CREATE TABLE traffic (
         tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
         period TEXT NOT NULL,
         bytes INTEGER NOT NULL,
         PRIMARY KEY (tenant, period)
       ) STRICT;
INSERT INTO "traffic" VALUES('acme','2025-11-24',12345);
CREATE INDEX template_builds_by_template ON template_builds (template_id, created_ms);
CREATE INDEX links_by_target ON links (to_box);
CREATE UNIQUE INDEX api_keys_by_old_hash ON api_keys (old_hash) WHERE old_hash <> '';
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_ms);
CREATE INDEX revoked_tokens_by_key ON revoked_tokens (key_id);
CREATE INDEX sandboxes_by_start ON sandboxes (started_ms, id);
CREATE INDEX sandboxes_by_tenant ON sandboxes (tenant, started_ms, id);
CREATE UNIQUE INDEX snapshots_by_name ON snapshots (tenant, name) WHERE name <> '';
CREATE INDEX snapshots_by_tenant ON snapshots (tenant, created_ms, id);
COMMIT;
PRAGMA user_version=7;
PRAGMA foreign_keys=ON;
