-- A database as the version before tenants (commit 6aeeb84) wrote it through its own store,
-- dumped as SQL. Tests load it and bring it up to date; it is never written anew.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE api_keys (
         id TEXT PRIMARY KEY NOT NULL,
         hash TEXT NOT NULL UNIQUE,
         label TEXT NOT NULL,
         created_ms INTEGER NOT NULL
       , clearance TEXT NOT NULL DEFAULT 'public') STRICT;
INSERT INTO "api_keys" VALUES('operator','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','made at the first start',1764000000000,'secret');
INSERT INTO "api_keys" VALUES('k-reader','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','it''s "quoted", ümlaut',1764000001000,'internal');
INSERT INTO "api_keys" VALUES('k-plain','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','',1764000002000,'public');
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
INSERT INTO "links" VALUES('link-2','ibbbb','iaaaa',80,'web.box',1764000021000);
CREATE TABLE sandboxes (
         id TEXT PRIMARY KEY NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         state TEXT NOT NULL CHECK (state IN ('starting', 'running')),
         started_ms INTEGER NOT NULL,
         ends_ms INTEGER NOT NULL,
         metadata TEXT NOT NULL,
         access_token TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         isolation TEXT NOT NULL,
         key_id TEXT NOT NULL
       , options TEXT NOT NULL DEFAULT '', traffic_token TEXT NOT NULL DEFAULT '', label TEXT NOT NULL DEFAULT 'public', egress TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO "sandboxes" VALUES('iaaaa','tpl-app','team/app','running',1764000010500,1764003610000,'{"user":"o''neil","stage":"x\ny"}','token-a',2,512,4096,'emulated','operator','{"network":{"allowPublicTraffic":false}}','traffic-a','confidential','{"layers":[]}');
INSERT INTO "sandboxes" VALUES('ibbbb','base','base','running',1764000011500,1764003611000,'','',1,256,4096,'hardware','k-gone','','','public','');
INSERT INTO "sandboxes" VALUES('icccc','tpl-app','team/app','starting',1764000012000,1764003612000,'','',0,0,0,'','operator','','','public','');
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
INSERT INTO "template_builds" VALUES('build-2','tpl-app','error',0,2,512,4096,1764000003510,1764000003900,'v2','exit 1','2','[{"message":"it''s\nbuilt"}]');
INSERT INTO "template_builds" VALUES('build-3','tpl-two','building',0,0,0,0,1764000007000,0,'','','','');
INSERT INTO "template_builds" VALUES('build-4','tpl-two','waiting',0,0,0,0,1764000008000,0,'default','','','');
CREATE TABLE template_tags (
         template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
         tag TEXT NOT NULL,
         build_id TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         PRIMARY KEY (template_id, tag)
       ) STRICT;
INSERT INTO "template_tags" VALUES('tpl-app','v1','build-1',1764000003950);
INSERT INTO "template_tags" VALUES('tpl-app','latest','build-1',1764000003950);
INSERT INTO "template_tags" VALUES('tpl-app','default','build-1',1764000003950);
INSERT INTO "template_tags" VALUES('tpl-two','default','build-4',1764000008500);
CREATE TABLE templates (
         id TEXT PRIMARY KEY NOT NULL,
         name TEXT NOT NULL UNIQUE,
         public INTEGER NOT NULL,
         created_ms INTEGER NOT NULL,
         updated_ms INTEGER NOT NULL,
         key_id TEXT NOT NULL
       , label TEXT NOT NULL DEFAULT 'public') STRICT;
INSERT INTO "templates" VALUES('tpl-app','team/app',1,1764000003000,1764000004000,'operator','internal');
INSERT INTO "templates" VALUES('tpl-two','two',0,1764000005000,1764000006000,'k-reader','public');
CREATE INDEX sandboxes_by_start ON sandboxes (started_ms, id);
CREATE INDEX template_builds_by_template ON template_builds (template_id, created_ms);
CREATE INDEX links_by_target ON links (to_box);
COMMIT;
PRAGMA user_version=5;
PRAGMA foreign_keys=ON;
