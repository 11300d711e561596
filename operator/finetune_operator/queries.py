"""W&B's GraphQL: the SDK's own queries and mutations, as far as the operator needs them."""

VIEWER = "query Viewer { viewer { id entity username } }"

FIND_SWEEPS = """
query Sweeps($project: String!, $entity: String!, $cursor: String, $perPage: Int = 100) {
  project(name: $project, entityName: $entity) {
    sweeps(after: $cursor, first: $perPage) {
      edges { node { id name state description createdAt } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

SWEEP = """
query Sweep($project: String!, $entity: String!, $sweep: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) { id state } }
}
"""

SWEEPS_AND_RUNS = """
query SweepsAndRuns($project: String!, $entity: String!, $filters: JSONString, $perPage: Int = 50) {
  project(name: $project, entityName: $entity) {
    name
    %s
    runs(filters: $filters, first: $perPage, order: "+created_at") {
      edges { node { id name displayName state config createdAt sweepName } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

UPSERT_SWEEP = """
mutation UpsertSweep(
  $id: ID, $config: String, $description: String, $entityName: String, $projectName: String, $state: String,
  $displayName: String, $priorRunsFilters: JSONString
) {
  upsertSweep(input: {
    id: $id, config: $config, description: $description, entityName: $entityName, projectName: $projectName,
    state: $state, displayName: $displayName, priorRunsFilters: $priorRunsFilters
  }) {
    sweep { id name project { id name entity { id name } } }
    configValidationWarnings
  }
}
"""

RUNS = """
query Runs(
  $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString
) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges { node { id name displayName state config summaryMetrics createdAt sweepName } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

RUN = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      id name displayName state config summaryMetrics createdAt
      outputArtifacts(first: 50) {
        edges {
          node {
            id
            state
            versionIndex
            artifactType { name }
            artifactSequence { name project { name entity { name } } }
          }
        }
      }
    }
  }
}
"""

STOP_RUN = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"

MEMBERSHIP = """
query ArtifactMembershipByName($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    artifactCollectionMembership(name: $name) {
      id
      versionIndex
      artifact { id versionIndex state }
      artifactCollection { name }
    }
  }
}
"""

ARTIFACT = """
query ArtifactMembershipByName($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    artifactCollectionMembership(name: $name) { id versionIndex artifact { id metadata } }
  }
}
"""

LINK_ARTIFACT = """
mutation LinkArtifact($input: LinkArtifactInput!) {
  linkArtifact(input: $input) { versionIndex }
}
"""

ADD_ALIASES = "mutation AddAliases($input: AddAliasesInput!) { addAliases(input: $input) { success } }"

ORGANIZATION = """
query FetchOrgInfoFromEntity($entity: String!) {
  entity(name: $entity) { organization { name orgEntity { name } } }
}
"""
