// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuthorityRegistry} from "./IAuthorityRegistry.sol";
import {ICertificateRegistry} from "./ICertificateRegistry.sol";
import {IDeviceRegistry} from "./IDeviceRegistry.sol";
import {IWatchdogRegistry} from "./IWatchdogRegistry.sol";

/// @title ITrustDomain
/// @notice One organisation's trust domain: who governs it, who may suspend, and where its four registries are.
/// @dev The governor is an address and nothing more is assumed of it: a plain account, a timelock, a multi-signature
/// wallet and a council all fit.
interface ITrustDomain {
    /// @notice The domain and its registries were deployed and wired together. Emitted once, by the constructor.
    /// @param governor The first governor.
    /// @param authorities The registry of certificate authorities.
    /// @param certificates The registry of anchored and revoked certificates.
    /// @param devices The registry of devices.
    /// @param watchdogs The registry of those who confirm batches.
    event DomainCreated(
        address indexed governor, address authorities, address certificates, address devices, address watchdogs
    );

    /// @notice The governor offered its role to `offered`; zero means that an offer was withdrawn.
    event GovernorOffered(address indexed current, address indexed offered);

    /// @notice The offer was accepted: `current` governs from here on, `previous` no longer does.
    event GovernorChanged(address indexed previous, address indexed current);

    /// @notice The guardian changed; zero means that there is none.
    event GuardianChanged(address indexed previous, address indexed current);

    /// @notice The caller does not hold the role that the function asks for.
    error TrustDomainUnauthorized(address caller);

    /// @notice A domain can not begin without a governor: nobody could ever appoint one.
    error TrustDomainZeroGovernor();

    /// @notice The registry of certificate authorities.
    /// @dev Fixed for the domain's life, like its three siblings: exchanging a registry would forget revocations.
    function authorities() external view returns (IAuthorityRegistry);

    /// @notice The registry of anchored and revoked certificates.
    function certificates() external view returns (ICertificateRegistry);

    /// @notice The registry of devices.
    function devices() external view returns (IDeviceRegistry);

    /// @notice The registry of those who confirm an authority's batches before they count.
    function watchdogs() external view returns (IWatchdogRegistry);

    /// @notice Who decides which authorities, operators, revokers and registrars exist.
    function governor() external view returns (address);

    /// @notice Who may take over as governor by accepting; zero while nothing is on offer.
    function offeredGovernor() external view returns (address);

    /// @notice Who may suspend an authority at once, and do nothing else; zero when there is nobody.
    function guardian() external view returns (address);

    /// @notice Offers the governor's role to `offered`. Nothing else changes until the offer is accepted.
    /// @dev Only the governor. A new offer replaces the one before; offering to zero withdraws it.
    /// @param offered Who may accept.
    function offerGovernor(address offered) external;

    /// @notice Takes over as governor.
    /// @dev Only the one whom the role was offered to. Accepting proves that the new governor can act, so that a
    /// mistyped address never ends up governing.
    function acceptGovernor() external;

    /// @notice Names the guardian.
    /// @dev Only the governor.
    /// @param guardian_ The new guardian, or zero for none.
    function setGuardian(address guardian_) external;
}
