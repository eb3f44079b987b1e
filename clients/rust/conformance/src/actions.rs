//! What the suite may ask to be done.
use assetd::{Client, Listing};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::words::{self, Request, shown_asset, shown_error, word};
use crate::{Action, write};

/// An answer, none if it is written already, or how the action failed.
type Ended = Result<Option<Value>, Value>;

pub async fn perform(client: &Client, action: &Action) -> Ended {
    let request = &action.request;
    match request.action.as_str() {
        "resolve" => resolve(client, request).await,
        "fetch" => fetch(client, request).await,
        "hold" => hold(client, action).await,
        "push" => push(client, request).await,
        "list" => list(client, request).await,
        "list_files" => list_files(client, request).await,
        other => Err(words::unknown(format!("there is no action {other:?}"))),
    }
}

async fn resolve(client: &Client, request: &Request) -> Ended {
    let mut resolve = client.resolve(&request.spec).freshness(request.freshness());
    if let Some(timeout) = request.store_timeout() {
        resolve = resolve.store_timeout(timeout);
    }
    if let Some(timeout) = request.timeout() {
        resolve = resolve.timeout(timeout);
    }
    let found = resolve.await.map_err(|failure| shown_error(&failure))?;
    Ok(Some(json!({
        "name": found.version.name,
        "version": found.version.version,
        "kind": word(found.version.kind().as_str_name(), "ASSET_KIND_"),
        "size_bytes": found.version.size_bytes,
        "digest": found.version.digest,
        "resolution": word(found.resolution.as_str_name(), "RESOLUTION_"),
        "presence": word(found.cache_state.presence().as_str_name(), "PRESENCE_"),
        "path": found.cache_state.path,
        "relative_path": found.cache_state.relative_path,
    })))
}

async fn fetch(client: &Client, request: &Request) -> Ended {
    let fetch = request.fetch(client.fetch(&request.spec));
    let asset = fetch.await.map_err(|failure| shown_error(&failure))?;
    Ok(Some(shown_asset(&asset)))
}

/// Answers once the version is held, and goes on until it is released, cancelled or lost.
async fn hold(client: &Client, action: &Action) -> Ended {
    let request = &action.request;
    let hold = request.fetch(client.hold(&request.spec));
    let held = hold.await.map_err(|failure| shown_error(&failure))?;
    write(json!({"id": request.id, "answer": shown_asset(held.asset())}));
    tokio::select! {
        () = action.released.notified() => (),
        ended = held.ended() => if let Err(lost) = ended {
            write(json!({"id": request.id, "lost": shown_error(&lost)}));
        },
    }
    Ok(None)
}

async fn push(client: &Client, request: &Request) -> Ended {
    let push = if !request.staged.is_empty() {
        client.push_staged(&request.staged, &request.spec)
    } else if !request.uri.is_empty() {
        client.push_from(&request.uri, &request.spec)
    } else {
        client.push(&request.source, &request.spec)
    };
    let pushed = request.push(push)?.await.map_err(|failure| shown_error(&failure))?;
    Ok(Some(json!({
        "name": pushed.name,
        "version": pushed.version,
        "digest": pushed.digest.unwrap_or_default(),
        "already_existed": pushed.already_existed,
        "size_bytes": pushed.size_bytes,
        "file_count": pushed.file_count,
        "labels": pushed.labels,
        "push_id": pushed.push_id,
    })))
}

async fn list(client: &Client, request: &Request) -> Ended {
    let entries = request.list(client.list(&request.prefix))?.entries();
    each(request, entries, |entry| {
        let version = &entry.version;
        json!({
            "spec": format!("{}:{}", version.name, version.version),
            "presence": word(entry.cache_state.presence().as_str_name(), "PRESENCE_"),
            "size_bytes": version.size_bytes,
            "digest": version.digest,
            "in_store": entry.in_store,
        })
    })
    .await
}

async fn list_files(client: &Client, request: &Request) -> Ended {
    let entries = request.list_files(client.list_files(&request.spec)).entries();
    each(request, entries, |entry| {
        json!({
            "path": entry.file.path,
            "size_bytes": entry.file.size_bytes,
            "digest": entry.file.digest,
            "cached": entry.cached,
        })
    })
    .await
}

/// Writes the entries, as many as the request wants, and answers how many they were.
async fn each<Entry>(
    request: &Request,
    mut entries: Listing<Entry>,
    shown: impl Fn(&Entry) -> Value,
) -> Ended {
    let mut count = 0;
    while request.limit.is_none_or(|limit| count < limit) {
        let next = entries.try_next().await.map_err(|failure| shown_error(&failure))?;
        let Some(entry) = next else { break };
        write(json!({"id": request.id, "entry": shown(&entry)}));
        count += 1;
    }
    Ok(Some(json!({ "count": count })))
}
