//! Questions to the API server, none of which is waited for without end.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::cluster::Clients;
use crate::report::reason;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many objects of one list are looked at; the first in the server's order.
const LIST_MAX: u32 = 5_000;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked<T> {
    /// This.
    Found(T),
    /// There is no such object, or no such kind.
    Absent,
    /// It cannot be known, for this reason.
    Unknown(String),
}

impl<T> Asked<T> {
    /// What follows from what was found.
    pub(super) fn map<U>(self, then: impl FnOnce(T) -> U) -> Asked<U> {
        match self {
            Self::Found(found) => Asked::Found(then(found)),
            Self::Absent => Asked::Absent,
            Self::Unknown(why) => Asked::Unknown(why),
        }
    }
}

/// Who asks.
pub(super) struct Asker {
    pub(super) client: Client,
}

impl Asker {
    pub(super) fn new(clients: &Clients) -> Self {
        Self { client: clients.reading.clone() }
    }

    /// An object by its name.
    pub(super) async fn get<K>(&self, api: &Api<K>, name: &str) -> Asked<K>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        self.ask(api.get(name)).await
    }

    /// The objects with these labels; all where there are none.
    pub(super) async fn list<K>(&self, api: &Api<K>, labels: &str) -> Asked<Vec<K>>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let params = ListParams::default().labels(labels).limit(LIST_MAX);
        self.ask(api.list(&params)).await.map(|list| list.items)
    }

    /// A question that is asked by creating an object that nobody stores.
    pub(super) async fn review<K>(&self, question: &K) -> Asked<K>
    where
        K: Clone + Debug + DeserializeOwned + Serialize + kube::Resource<DynamicType = ()>,
    {
        let api = Api::<K>::all(self.client.clone());
        self.ask(api.create(&PostParams::default(), question)).await
    }

    /// Anything else.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = kube::Result<T>>) -> Asked<T> {
        match timeout(PATIENCE, question).await {
            Ok(Ok(answer)) => Asked::Found(answer),
            Ok(Err(Error::Api(status))) if status.code == 404 => Asked::Absent,
            Ok(Err(error)) => Asked::Unknown(reason(&error)),
            Err(_) => Asked::Unknown("no answer in time".to_owned()),
        }
    }
}
