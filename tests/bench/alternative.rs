//! The alternative: three PostgreSQL clusters on loopback with TLS 1.3 and client certificates, joined at the city by
//! `postgres_fdw`, with one durable audit row for each lookup. Driven by pgbench, prepared statements.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::Measured;

const TIERS: [(&str, u16); 3] = [("province", 55_431), ("city", 55_432), ("district", 55_433)];
const USER: &str = "asker";

pub(crate) struct Alternative {
    place: tempfile::TempDir,
    programs: PathBuf,
    persons: u64,
}

impl Alternative {
    pub(crate) fn start(persons: u64) -> Self {
        let programs = std::fs::read_dir("/usr/lib/postgresql")
            .expect("Debian's postgresql")
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .find(|bin| bin.join("initdb").exists())
            .expect("Debian's postgresql");
        let this = Self {
            place: tempfile::tempdir().unwrap(),
            programs,
            persons,
        };
        this.certificates();
        this.own(this.place.path());
        for (tier, port) in TIERS {
            this.cluster(tier, port);
        }
        for (tier, _) in TIERS {
            this.fill(tier);
        }
        this.join();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// One authority, a certificate for each server, one for the role that asks.
    fn certificates(&self) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "authority");
        let certificate = authority.self_signed(&authority_key).unwrap();
        std::fs::write(self.path("ca.crt"), certificate.pem()).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        for name in TIERS.map(|(tier, _)| tier).into_iter().chain([USER]) {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let signed = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(self.path(&format!("{name}.crt")), signed.pem()).unwrap();
            let file = self.path(&format!("{name}.key"));
            std::fs::write(&file, key.serialize_pem()).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    fn own(&self, path: &Path) {
        let _ = Command::new("chown").args(["-R", "postgres"]).arg(path).status();
    }

    fn cluster(&self, tier: &str, port: u16) {
        let data = self.path(tier).display().to_string();
        self.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-A",
                "trust",
            ],
        );
        let place = self.place.path().display();
        let mut settings = std::fs::read_to_string(format!("{data}/postgresql.conf")).unwrap();
        write!(
            settings,
            "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{place}'\nssl = on\nssl_min_protocol_version = 'TLSv1.3'\nssl_ca_file = '{place}/ca.crt'\nssl_cert_file = '{place}/{tier}.crt'\nssl_key_file = '{place}/{tier}.key'\nshared_buffers = 1GB\nmax_wal_size = 4GB\nmax_connections = 120\njit = off\nrandom_page_cost = 1.1\n"
        )
        .unwrap();
        std::fs::write(format!("{data}/postgresql.conf"), settings).unwrap();
        std::fs::write(
            format!("{data}/pg_hba.conf"),
            format!("local all all trust\nhostssl all {USER} 127.0.0.1/32 cert\n"),
        )
        .unwrap();
        self.run(
            "pg_ctl",
            &["-D", &data, "-w", "-s", "-l", &format!("{data}/log"), "start"],
        );
    }

    fn fill(&self, tier: &str) {
        self.sql(tier, "postgres", &format!("CREATE ROLE {USER} LOGIN; "));
        self.sql(tier, "postgres", &format!("CREATE DATABASE bench OWNER {USER}"));
        let last = self.persons - 1;
        self.sql(
            tier,
            "bench",
            &format!(
                "CREATE TABLE records (id_number text NOT NULL, category smallint NOT NULL, payload jsonb NOT NULL);
                 INSERT INTO records SELECT (110101198000000000 + person * 7919)::text, record, jsonb_build_object(
                   'tier', '{tier}', 'plate', 'E' || lpad((person * 10 + record)::text, 8, '0'), 'kind', 'small car', 'model', md5(person::text),
                   'registered', '2020-08-21', 'state', 'in use', 'remark', md5(record::text) || md5((person + record)::text))
                 FROM generate_series(0, {last}) person, generate_series(0, 9) record ORDER BY hashint8(person);
                 CREATE INDEX records_by_person ON records (id_number);
                 CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), body text NOT NULL);
                 GRANT SELECT ON records TO {USER}; GRANT INSERT ON audit TO {USER}; ANALYZE records;"
            ),
        );
        self.sql(tier, "bench", "VACUUM records");
        self.sql(tier, "bench", "CHECKPOINT");
    }

    /// The city sees all three tiers in one view.
    fn join(&self) {
        let place = self.place.path().display();
        let mut sql = "CREATE EXTENSION postgres_fdw;".to_owned();
        for (tier, port) in TIERS.into_iter().filter(|(tier, _)| *tier != "city") {
            write!(
                sql,
                "CREATE SERVER {tier} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'localhost', hostaddr '127.0.0.1', port '{port}', dbname 'bench', sslmode 'verify-full', sslrootcert '{place}/ca.crt', async_capable 'true', fetch_size '10000', keep_connections 'on');
                 CREATE USER MAPPING FOR {USER} SERVER {tier} OPTIONS (user '{USER}', password_required 'false', sslcert '{place}/{USER}.crt', sslkey '{place}/{USER}.key');
                 CREATE FOREIGN TABLE {tier}_records (id_number text NOT NULL, category smallint NOT NULL, payload jsonb NOT NULL) SERVER {tier} OPTIONS (table_name 'records');
                 ALTER FOREIGN TABLE {tier}_records OWNER TO {USER};"
            )
            .unwrap();
        }
        write!(
            sql,
            "CREATE VIEW everywhere AS SELECT 'city' AS tier, * FROM records UNION ALL SELECT 'province', * FROM province_records UNION ALL SELECT 'district', * FROM district_records;
             ALTER VIEW everywhere OWNER TO {USER}; GRANT SELECT ON records TO {USER};"
        )
        .unwrap();
        self.sql("city", "bench", &sql);
        std::fs::write(
            self.path("lookup.sql"),
            format!(
                "\\set person random(0, {})\n\\set id 110101198000000000 + 7919 * :person\nINSERT INTO audit (body) VALUES ('case 1 examiner 1 approver 2 purpose minimum_living_allowance digest {}');\nSELECT tier, category, payload FROM everywhere WHERE id_number = :id;\n",
                self.persons - 1,
                "0123456789abcdef".repeat(4)
            ),
        )
        .unwrap();
    }

    /// Lookups from so many clients for so many seconds.
    pub(crate) fn measure(&self, clients: u32, seconds: u64) -> Measured {
        let prefix = self.path("latency").display().to_string();
        let place = self.place.path().display();
        let connection = format!(
            "host=localhost hostaddr=127.0.0.1 port=55432 dbname=bench user={USER} sslmode=verify-full sslrootcert={place}/ca.crt sslcert={place}/{USER}.crt sslkey={place}/{USER}.key"
        );
        let script = self.path("lookup.sql").display().to_string();
        let (clients, seconds_text) = (clients.to_string(), seconds.to_string());
        let threads = if clients == "1" { "1" } else { "2" };
        self.run(
            "pgbench",
            &[
                "-n",
                "-M",
                "prepared",
                "-f",
                &script,
                "-c",
                &clients,
                "-j",
                threads,
                "-T",
                &seconds_text,
                "-l",
                "--log-prefix",
                &prefix,
                &connection,
            ],
        );
        let mut micros = Vec::new();
        for entry in std::fs::read_dir(self.place.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("latency") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                micros.extend(
                    text.lines()
                        .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()),
                );
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        Measured::of(micros, seconds as f64)
    }

    /// Seconds that one query for so many persons takes, its rows thrown away, on a connection that asked it once before.
    pub(crate) fn batch(&self, persons: u64) -> f64 {
        let place = self.place.path().display();
        let connection = format!(
            "host=localhost hostaddr=127.0.0.1 port=55432 dbname=bench user={USER} sslmode=verify-full sslrootcert={place}/ca.crt sslcert={place}/{USER}.crt sslkey={place}/{USER}.key"
        );
        let numbers: Vec<_> = (0..persons)
            .map(|person| (110_101_198_000_000_000 + person * 7919).to_string())
            .collect();
        let query = format!(
            "SELECT tier, category, payload FROM everywhere WHERE id_number = ANY('{{{}}}');\n",
            numbers.join(",")
        );
        let script = self.path("batch.sql");
        std::fs::write(
            &script,
            format!("\\timing on\n{}", format!("\\o /dev/null\n{query}").repeat(2)),
        )
        .unwrap();
        let said = self.run(
            "psql",
            &[
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &connection,
                "-f",
                &script.display().to_string(),
            ],
        );
        let last = said.lines().rev().find_map(|line| line.strip_prefix("Time: "));
        let milliseconds: f64 = last.unwrap().split(' ').next().unwrap().parse().unwrap();
        milliseconds / 1000.0
    }

    fn sql(&self, tier: &str, database: &str, sql: &str) {
        let port = TIERS.iter().find(|(name, _)| *name == tier).unwrap().1.to_string();
        let place = self.place.path().display().to_string();
        self.run(
            "psql",
            &[
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &place,
                "-p",
                &port,
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
            ],
        );
    }

    /// PostgreSQL does not run as root.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(self.programs.join(program));
        if !std::fs::metadata("/proc/self").is_ok_and(|this| std::os::unix::fs::MetadataExt::uid(&this) == 0) {
            command = Command::new(self.programs.join(program));
        }
        let output = command.args(arguments).current_dir("/tmp").output().unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Alternative {
    fn drop(&mut self) {
        for (tier, _) in TIERS {
            let data = self.path(tier).display().to_string();
            if self.path(tier).join("postmaster.pid").exists() {
                self.run("pg_ctl", &["-D", &data, "-m", "immediate", "-s", "stop"]);
            }
        }
    }
}
