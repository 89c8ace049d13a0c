/// Loads a user.
pub async fn load_user(db: &Db, org: u64, id: u64) -> Result<User, DbError> {
    #[allow(unused_imports)]
    use ::cachetier::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __shape = (&&(&&&&::cachetier::attribute::Probe::<Result<User, DbError>>::new())
        .shape())
        .checked();
    #[allow(clippy::all, clippy::pedantic)]
    let (__cache, __key) = {
        let __cache = ::cachetier::attribute::installed();
        let mut __key = ::cachetier::KeyText::new();
        __key.literal("user:");
        __key.part(&(id));
        if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
            return __hit;
        }
        (__cache.into_owned(), ::std::string::String::from(__key))
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __rules = ::cachetier::attribute::rules(
        ::cachetier::Policy::ttl(::std::time::Duration::new(300u64, 0u32)),
        ::std::vec![
            ::std::string::String::from("users"), { let mut __key =
            ::cachetier::KeyText::new(); __key.literal("org:"); __key.part(& (org));
            ::std::string::String::from(__key) }
        ],
    );
    #[allow(clippy::all, clippy::pedantic)]
    let __sharing = (&&&::cachetier::attribute::ErrorProbe::of(&__shape)).sharing();
    __shape
        .load(
            __cache,
            __key,
            __rules,
            __sharing,
            async move {
                if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                    Result<User, DbError>,
                > {
                    return __returned;
                }
                #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
                let __returned: Result<User, DbError> = { db.fetch(org, id).await };
                #[allow(unreachable_code)] return __returned;
            },
        )
        .await
}
///What belongs to [`load_user`](fn@load_user): its keys.
pub mod load_user {
    #[allow(unused_imports)]
    use super::*;
    ///Returns the key under which a call of [`load_user`](fn@super::load_user) with these arguments is cached.
    #[must_use]
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub fn key(org: u64, id: u64) -> ::std::string::String {
        ::std::string::String::from({
            let mut __key = ::cachetier::KeyText::new();
            __key.literal("user:");
            __key.part(&(id));
            __key
        })
    }
    ///Invalidates what a call of [`load_user`](fn@super::load_user) with these arguments has cached, in every instance.
    ///
    /// # Errors
    ///
    /// Those of an invalidation of the key; and that there is no cache.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub async fn invalidate(
        org: u64,
        id: u64,
    ) -> ::std::result::Result<::cachetier::Delivery, ::cachetier::CacheError> {
        let __key = {
            let mut __key = ::cachetier::KeyText::new();
            __key.literal("user:");
            __key.part(&(id));
            __key
        };
        let __cache = ::cachetier::attribute::installed();
        ::cachetier::attribute::invalidate(&__cache, &__key).await
    }
}
