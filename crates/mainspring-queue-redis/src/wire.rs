//! Connections to whatever kind of Redis it is.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::{sync::Mutex, time::timeout};

use crate::options::{Kind, RedisOptions};

/// How long it may take to find a server that answers, of all that are named.
const CONNECT: Duration = Duration::from_secs(2);

/// Makes connections.
pub(crate) struct Reach {
    /// The servers that are named.
    nodes: Vec<Client>,
    cluster: Option<ClusterClient>,
    sentinel: Option<Mutex<SentinelClient>>,
    config: AsyncConnectionConfig,
}

impl Reach {
    pub(crate) fn new(options: &RedisOptions) -> RedisResult<Self> {
        let (mut cluster, mut sentinel) = (None, None);
        match &options.kind {
            Kind::Single => {}
            Kind::Cluster => {
                let builder = ClusterClientBuilder::new(options.infos()?)
                    .connection_timeout(options.deadline)
                    .response_timeout(options.deadline)
                    .retries(1);
                cluster = Some(builder.build()?);
            }
            Kind::Sentinel(master) => {
                let account = options.account();
                let addresses = options.addresses();
                let mut builder =
                    SentinelClientBuilder::new(addresses, master.clone(), SentinelServerType::Master)?
                        .set_client_to_redis_db(account.db())
                        .set_client_to_redis_protocol(account.protocol());
                if options.tls {
                    builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
                }
                if let Some(username) = &options.username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = &options.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                sentinel = Some(Mutex::new(builder.build()?));
            }
        }
        let nodes = options.infos()?.into_iter().map(Client::open).collect::<RedisResult<_>>()?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.deadline))
            .set_response_timeout(Some(options.deadline));
        Ok(Self { nodes, cluster, sentinel, config })
    }

    /// For commands.
    pub(crate) async fn commands(&self) -> RedisResult<Wire> {
        match &self.cluster {
            Some(cluster) => Ok(Wire::Cluster(cluster.get_async_connection().await?)),
            None => Ok(Wire::Single(self.node(self.config.clone()).await?)),
        }
    }

    /// To one server: the master where there are sentinels, in a cluster any node, since each passes on what is published.
    pub(crate) async fn node(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let late = |_| (redis::ErrorKind::Io, "no connection in time").into();
        timeout(CONNECT, self.any_node(config)).await.map_err(late).flatten()
    }

    async fn any_node(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        if let Some(sentinel) = &self.sentinel {
            let master = sentinel.lock().await.async_get_client().await?;
            return master.get_multiplexed_async_connection_with_config(&config).await;
        }
        let mut last = None;
        for client in &self.nodes {
            match client.get_multiplexed_async_connection_with_config(&config).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| (redis::ErrorKind::InvalidClientConfig, "no node").into()))
    }

    pub(crate) fn config(&self) -> AsyncConnectionConfig {
        self.config.clone()
    }
}

/// A connection for commands; a clone shares it.
#[derive(Clone)]
pub(crate) enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(wire) => wire.req_packed_command(cmd),
            Self::Cluster(wire) => wire.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(wire) => wire.req_packed_commands(pipeline, offset, count),
            Self::Cluster(wire) => wire.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(wire) => wire.get_db(),
            Self::Cluster(wire) => wire.get_db(),
        }
    }
}
