//! A store that speaks as much of S3 as `object_store` asks for, in this process and in memory. It can lose the answer to a commit that
//! it has kept, and it can forget what `If-None-Match` means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;

/// Keys a page of a list: few, so that lists have pages.
const PAGE: usize = 7;

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, (Bytes, u64)>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    /// Every so many commits the answer is lost; 0: never.
    lose_every: usize,
    careless: bool,
    etag: u64,
    commits: usize,
    refusals: usize,
    lost: usize,
    parts: usize,
}

/// The store.
pub struct Server {
    kept: Arc<Mutex<Kept>>,
    port: u16,
    _serving: tokio::task::JoinSet<()>,
}

impl Server {
    /// One that loses the answer to every so many commits; 0: none.
    pub async fn start(lose_every: usize) -> Self {
        Self::with(Kept { lose_every, ..Kept::default() }).await
    }

    /// One that overwrites whatever it is told.
    pub async fn careless() -> Self {
        Self::with(Kept { careless: true, ..Kept::default() }).await
    }

    async fn with(kept: Kept) -> Self {
        let kept = Arc::new(Mutex::new(kept));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let app = axum::Router::new().fallback(answer).layer(axum::extract::DefaultBodyLimit::disable()).with_state(Arc::clone(&kept));
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { kept, port, _serving: serving }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn keys(&self) -> Vec<String> {
        self.kept().objects.keys().cloned().collect()
    }

    /// Puts that were refused because the object was there.
    pub fn refusals(&self) -> usize {
        self.kept().refusals
    }

    /// Answers that were lost.
    pub fn lost(&self) -> usize {
        self.kept().lost
    }

    /// Parts of larger objects that were sent.
    pub fn parts(&self) -> usize {
        self.kept().parts
    }
}

fn reply(status: StatusCode) -> axum::http::response::Builder {
    Response::builder().status(status).header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
}

fn empty(status: StatusCode) -> Response {
    reply(status).body(Body::empty()).expect("a response")
}

fn xml(text: String) -> Response {
    reply(StatusCode::OK).header("Content-Type", "application/xml").body(Body::from(text)).expect("a response")
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let key = uri.path().trim_start_matches('/').split_once('/').map(|(_, key)| key.replace("%3D", "=")).unwrap_or_default();
    match (method.as_str(), key.is_empty()) {
        ("GET", true) => list(&kept, &query),
        ("POST", true) => delete_many(&mut kept, &body),
        ("POST", false) => upload(&mut kept, &key, &query),
        ("PUT", false) => put(&mut kept, &key, &query, &headers, body),
        ("DELETE", false) => {
            kept.objects.remove(&key);
            empty(StatusCode::NO_CONTENT)
        }
        ("GET" | "HEAD", false) => get(&kept, &key, &headers, method == Method::HEAD),
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

type Query = BTreeMap<String, String>;

fn put(kept: &mut Kept, key: &str, query: &Query, headers: &HeaderMap, body: Bytes) -> Response {
    if let (Some(upload), Some(part)) = (query.get("uploadId"), query.get("partNumber").and_then(|part| part.parse().ok())) {
        kept.parts += 1;
        kept.uploads.entry(upload.clone()).or_default().insert(part, body);
        return reply(StatusCode::OK).header("ETag", format!("\"part-{part}\"")).body(Body::empty()).expect("a response");
    }
    let create_only = headers.get("If-None-Match").is_some_and(|value| value == "*");
    if create_only && !kept.careless && kept.objects.contains_key(key) {
        kept.refusals += 1;
        return empty(StatusCode::PRECONDITION_FAILED);
    }
    let commit = create_only && key.contains("/_delta_log/");
    kept.etag += 1;
    let etag = kept.etag;
    kept.objects.insert(key.to_owned(), (body, etag));
    kept.commits += usize::from(commit);
    if commit && kept.lose_every > 0 && kept.commits.is_multiple_of(kept.lose_every) {
        kept.lost += 1;
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    reply(StatusCode::OK).header("ETag", format!("\"{etag}\"")).body(Body::empty()).expect("a response")
}

fn upload(kept: &mut Kept, key: &str, query: &Query) -> Response {
    if query.contains_key("uploads") {
        kept.etag += 1;
        let id = format!("upload-{}", kept.etag);
        return xml(format!(
            "<InitiateMultipartUploadResult><Bucket>ward</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ));
    }
    let parts = query.get("uploadId").and_then(|id| kept.uploads.remove(id)).unwrap_or_default();
    let whole: Vec<u8> = parts.into_values().flat_map(|part| part.to_vec()).collect();
    kept.etag += 1;
    kept.objects.insert(key.to_owned(), (whole.into(), kept.etag));
    xml(format!("<CompleteMultipartUploadResult><Key>{key}</Key><ETag>\"{}\"</ETag></CompleteMultipartUploadResult>", kept.etag))
}

fn delete_many(kept: &mut Kept, body: &Bytes) -> Response {
    let text = String::from_utf8_lossy(body);
    let mut deleted = String::new();
    for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| key) {
        kept.objects.remove(key);
        deleted.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
    }
    xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
}

fn list(kept: &Kept, query: &Query) -> Response {
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    let (prefix, delimiter) = (of("prefix"), of("delimiter"));
    let after = if of("continuation-token").is_empty() { of("start-after") } else { of("continuation-token") };
    let (mut contents, mut folders, mut last, mut truncated) = (String::new(), BTreeSet::new(), String::new(), false);
    for (key, (bytes, etag)) in kept.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after) {
        if contents.matches("<Key>").count() + folders.len() >= PAGE {
            truncated = true;
            break;
        }
        last.clone_from(key);
        match key.split_at(prefix.len()).1.split_once(delimiter).filter(|_| !delimiter.is_empty()) {
            Some((folder, _)) => {
                folders.insert(format!("{prefix}{folder}{delimiter}"));
            }
            None => contents.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"{etag}\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )),
        }
    }
    let folders: String = folders.iter().map(|folder| format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>")).collect();
    let more = if truncated { format!("<NextContinuationToken>{last}</NextContinuationToken>") } else { String::new() };
    xml(format!("<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{contents}{folders}{more}</ListBucketResult>"))
}

fn get(kept: &Kept, key: &str, headers: &HeaderMap, head: bool) -> Response {
    let Some((bytes, etag)) = kept.objects.get(key) else { return empty(StatusCode::NOT_FOUND) };
    let range = headers.get("Range").and_then(|value| value.to_str().ok()).and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let size = bytes.len();
    let (from, until) = match range {
        Some(("", last)) => (size.saturating_sub(last.parse().expect("a number")), size),
        Some((first, "")) => (first.parse().expect("a number"), size),
        Some((first, last)) => (first.parse().expect("a number"), (last.parse::<usize>().expect("a number") + 1).min(size)),
        None => (0, size),
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = reply(status).header("ETag", format!("\"{etag}\"")).header("Content-Length", until - from);
    if range.is_some() {
        response = response.header("Content-Range", format!("bytes {from}-{}/{size}", until.saturating_sub(1)));
    }
    response.body(if head { Body::empty() } else { Body::from(bytes.slice(from..until)) }).expect("a response")
}
